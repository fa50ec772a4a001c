// What every request does: garbage enough that the collector is part of the measurement.
module.exports = function answer() {
  const items = [];
  for (let i = 0; i < 500; i++) items.push({ i, name: `item ${i}`, tags: [i, i + 1] });
  return JSON.stringify(items.filter(({ i }) => i % 100 === 0));
};
