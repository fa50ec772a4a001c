/** The end of a `start_server` command with something to say. */

/** Exit codes of Server::Starter 0.35; a failed system call ends it with its errno. */
export const starterExit = {
  ok: 0,
  /** the command line cannot be read */
  usage: 1,
  /** something is missing, or a value makes no sense */
  unusable: 255,
} as const;

/** Ends the command with these lines on standard error and this exit code. */
export class StarterExit extends Error {
  override readonly name = 'StarterExit';

  constructor(
    readonly exitCode: number,
    message: string,
  ) {
    super(message);
  }
}
