/** Users and groups, read from /etc/passwd and /etc/group; other sources of names (LDAP, systemd-userdb) are not asked. */
import { readFileSync } from 'node:fs';

export interface Credentials {
  readonly uid: number;
  readonly gid: number;
  /** supplementary groups as initgroups(3) sets them, `gid` included */
  readonly groups: readonly number[];
}

export interface AccountFiles {
  readonly passwd: string;
  readonly group: string;
}

const SYSTEM_FILES: AccountFiles = { passwd: '/etc/passwd', group: '/etc/group' };
/** uid_t and gid_t, without the −1 that means "unchanged" */
const MAX_ID = 4_294_967_294;

/**
 * The ids for `--user` and `--group`, each a name or a number; null stays as this process is.
 * Returns what is wrong as text. A number needs no entry, but a user without one needs a group.
 */
export function resolveCredentials(
  user: string | null,
  group: string | null,
  files: AccountFiles = SYSTEM_FILES,
): Credentials | { readonly option: 'user' | 'group'; readonly problem: string } {
  const groupLines = readLines(files.group);
  const groupId = group === null ? null : findId(groupLines, group);
  if (group !== null && groupId === null) {
    return { option: 'group', problem: `there is no group ${group} in ${files.group}` };
  }
  if (user === null) {
    const gid = groupId ?? process.getgid!();
    return { uid: process.getuid!(), gid, groups: groupId === null ? process.getgroups!() : [gid] };
  }
  const account = readLines(files.passwd).find((fields) => fields[0] === user || fields[2] === user);
  const uid = account ? toId(account[2]) : toId(user);
  const gid = groupId ?? toId(account?.[3]);
  if (uid === null) {
    return { option: 'user', problem: `there is no user ${user} in ${files.passwd}` };
  }
  if (gid === null) {
    return {
      option: 'user',
      problem: `uid ${user} has no entry in ${files.passwd}; name its group with --group`,
    };
  }
  return { uid, gid, groups: supplementary(groupLines, account?.[0] ?? null, gid) };
}

/** `gid`, and every group that lists the user as a member. */
function supplementary(groupLines: readonly string[][], name: string | null, gid: number): number[] {
  const member = groupLines
    .filter((fields) => name !== null && fields[3]?.split(',').includes(name))
    .map((fields) => toId(fields[2]))
    .filter((id) => id !== null);
  return [...new Set([gid, ...member])];
}

/** By name first, as chown(1) does: a group may be called 1000. */
function findId(lines: readonly string[][], nameOrId: string): number | null {
  return toId(lines.find((fields) => fields[0] === nameOrId)?.[2]) ?? toId(nameOrId);
}

function toId(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,10}$/.test(text) && Number(text) <= MAX_ID ? Number(text) : null;
}

/** An absent file has no lines: containers from scratch have neither. */
function readLines(file: string): string[][] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.split(':'));
  } catch {
    return [];
  }
}
