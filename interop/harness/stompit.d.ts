/** What the harness uses of stompit, which brings no types. */
declare module "stompit" {
  import type { Readable, Writable } from "node:stream";

  export interface StompitMessage extends Readable {
    readonly headers: Readonly<Record<string, string>>;
  }
  export interface StompitSubscription {
    unsubscribe(headers?: Record<string, string>): void;
  }
  export interface StompitTransaction {
    readonly id: string | number;
    commit(options?: { onReceipt?: () => void }): void;
    abort(options?: { onReceipt?: () => void }): void;
  }
  export interface StompitClient {
    send(headers: Record<string, string>, options?: { onReceipt?: () => void }): Writable;
    sendFrame(
      command: string,
      headers: Record<string, string>,
      options?: { onReceipt?: () => void },
    ): Writable;
    subscribe(
      headers: Record<string, string>,
      listener: (error: Error | null, message: StompitMessage) => void,
    ): StompitSubscription;
    setImplicitSubscription(
      id: string,
      ack: string,
      listener: (error: Error | null, message: StompitMessage) => void,
    ): StompitSubscription;
    ack(
      message: StompitMessage,
      headers?: Record<string, string>,
      options?: { onReceipt?: () => void },
    ): void;
    nack(message: StompitMessage, headers?: Record<string, string>): void;
    begin(headers?: Record<string, string>): StompitTransaction;
    disconnect(callback?: (error?: Error) => void): void;
    destroy(error?: Error): void;
    on(event: "error", listener: (error: Error & { longMessage?: string }) => void): void;
    getTransportSocket(): import("node:net").Socket;
    readonly headers: Readonly<Record<string, string>>;
  }
  export interface ConnectOptions {
    readonly host: string;
    readonly port: number;
    readonly ssl?: boolean;
    readonly ca?: string;
    readonly connectHeaders: Record<string, string>;
  }
  export function connect(
    options: ConnectOptions,
    listener: (error: Error | null, client: StompitClient) => void,
  ): unknown;
  const stompit: { connect: typeof connect };
  export default stompit;
}
