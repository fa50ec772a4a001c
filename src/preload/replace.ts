/**
 * Puts a function in the place of another, with its name and its other properties. For modules of Node's, `syncBuiltinESMExports()`
 * makes it seen by `import` too.
 */
export function replace<T extends object, K extends keyof T & string>(
  target: T,
  name: K,
  replacement: (this: unknown, ...args: never[]) => unknown,
): void {
  const descriptor = Object.getOwnPropertyDescriptor(target, name);
  // `name`, `length`, and variants such as the one that util.promisify looks for.
  Object.defineProperties(replacement, propertiesOf(target[name] as object));
  Object.defineProperty(target, name, { ...descriptor, value: replacement });
}

function propertiesOf(original: object): PropertyDescriptorMap {
  const { prototype: _, ...rest } = Object.getOwnPropertyDescriptors(original) as PropertyDescriptorMap;
  return rest;
}
