/** Who a peer is, once authenticated. */
export interface Principal {
  /** User name; "anonymous" for nobody in particular. */
  readonly name: string;
  readonly isAnonymous: boolean;
  /** How it was established: "PLAIN", "SCRAM-SHA-256", "EXTERNAL", "ANONYMOUS", "password", "token" … */
  readonly mechanism: string;
  /** Of a token: when it ends and the connection with it, ms since the epoch. */
  readonly expiresAt?: number;
  /** Of a password: tells it from the user's next one (`credentialsOf`), and is no secret. */
  readonly credentials?: string;
}

export const ANONYMOUS: Principal = {
  name: "anonymous",
  isAnonymous: true,
  mechanism: "ANONYMOUS",
};
