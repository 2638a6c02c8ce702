/** Why the broker did not start: one sentence for a person and the exit code of the process. */
export const EXIT = {
  OK: 0,
  FAILED: 1,
  BAD_CONFIGURATION: 2,
  DATA_UNUSABLE: 3,
  PORT_UNUSABLE: 4,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export class StartError extends Error {
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "StartError";
    this.exitCode = exitCode;
  }
}
