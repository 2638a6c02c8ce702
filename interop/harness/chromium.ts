/**
 * A headless Chromium in its own process, spoken to over the DevTools protocol: opens pages and runs expressions in them. Its
 * profile is a new folder that goes when it ends.
 */
import type { ChildProcess } from "node:child_process";
import { rmSync } from "node:fs";
import { WebSocket } from "ws";
import { chromiumProgram } from "./chromium-setup.ts";
import { scratchDir } from "./paths.ts";
import { killGroup, lastLines, spawnTracked } from "./process.ts";
import { within } from "./step.ts";

const LAUNCH_LIMIT_MS = 60_000;
const COMMAND_LIMIT_MS = 30_000;

const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--no-zygote",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-extensions",
  "--disable-background-networking",
  "--no-first-run",
  "--remote-debugging-port=0",
  // A foreign site, for origins that are not to be let in.
  "--host-resolver-rules=MAP *.test 127.0.0.1",
];

interface Answer {
  readonly id?: number;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
}

export class Chromium {
  readonly #child: ChildProcess;
  readonly #profile: string;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #lastId = 0;

  private constructor(child: ChildProcess, profile: string, socket: WebSocket) {
    this.#child = child;
    this.#profile = profile;
    this.#socket = socket;
    socket.on("message", (data: Buffer) => {
      const answer = JSON.parse(data.toString()) as Answer;
      if (answer.id !== undefined) this.#waiting.get(answer.id)?.(answer);
    });
  }

  static async launch(): Promise<Chromium> {
    const { command, env } = await chromiumProgram();
    const profile = scratchDir("chromium");
    const args = [...FLAGS, `--user-data-dir=${profile}`, "about:blank"];
    const child = spawnTracked(command, args, { env });
    let output = "";
    const listening = new Promise<string>((resolve, reject) => {
      child.stderr?.setEncoding("utf8").on("data", (text: string) => {
        output = (output + text).slice(-20_000);
        const url = /DevTools listening on (ws:\S+)/.exec(output)?.[1];
        if (url !== undefined) resolve(url);
      });
      child.once("exit", (status) =>
        reject(new Error(`Chromium left with status ${status}: ${lastLines(output, 5)}`)),
      );
    });
    try {
      const socket = new WebSocket(await within(LAUNCH_LIMIT_MS, listening, "Chromium starts"));
      const opened = new Promise<void>((resolve, reject) => {
        socket.once("open", () => resolve());
        socket.once("error", reject);
      });
      await within(COMMAND_LIMIT_MS, opened, "Chromium's DevTools");
      return new Chromium(child, profile, socket);
    } catch (error) {
      killGroup(child, "SIGKILL");
      rmSync(profile, { recursive: true, force: true });
      throw error;
    }
  }

  async version(): Promise<string> {
    return String((await this.send("Browser.getVersion", {}))["product"]);
  }

  /** Opens a page; resolves when it can run expressions. */
  async open(url: string): Promise<Page> {
    const { targetId } = await this.send("Target.createTarget", { url });
    const attached = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, String(attached["sessionId"]));
    await page.loaded();
    return page;
  }

  async send(
    method: string,
    params: Readonly<Record<string, unknown>>,
    options: { readonly sessionId?: string; readonly limitMs?: number } = {},
  ): Promise<Record<string, unknown>> {
    const id = ++this.#lastId;
    const answered = new Promise<Answer>((resolve) => this.#waiting.set(id, resolve));
    const { sessionId, limitMs = COMMAND_LIMIT_MS } = options;
    const session = sessionId === undefined ? {} : { sessionId };
    this.#socket.send(JSON.stringify({ id, method, params, ...session }));
    const answer = await within(limitMs, answered, `Chromium: ${method}`).finally(() =>
      this.#waiting.delete(id),
    );
    if (answer.error !== undefined) throw new Error(`${method}: ${answer.error.message}`);
    return answer.result ?? {};
  }

  async close(): Promise<void> {
    const left = new Promise<void>((resolve) => this.#child.once("exit", () => resolve()));
    this.#socket.terminate();
    killGroup(this.#child, "SIGKILL");
    await within(COMMAND_LIMIT_MS, left, "Chromium leaves");
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

export class Page {
  readonly #browser: Chromium;
  readonly #sessionId: string;

  constructor(browser: Chromium, sessionId: string) {
    this.#browser = browser;
    this.#sessionId = sessionId;
  }

  async loaded(): Promise<void> {
    const script = `new Promise((resolve) =>
      document.readyState === "complete" && location.href !== "about:blank"
        ? resolve(true) : setTimeout(() => resolve(false), 20))`;
    for (let waited = 0; waited < COMMAND_LIMIT_MS; waited += 20) {
      // While the page is being changed for another the expression has nowhere to run.
      if (await this.evaluate(script).catch(() => false)) return;
    }
    throw new Error("Chromium: the page did not load");
  }

  /** The value of an expression, or of the promise that it is; an exception in the page is one here. */
  async evaluate(expression: string, limitMs = COMMAND_LIMIT_MS): Promise<unknown> {
    const params = { expression, awaitPromise: true, returnByValue: true };
    const options = { sessionId: this.#sessionId, limitMs };
    const { result, exceptionDetails } = (await this.#browser.send(
      "Runtime.evaluate",
      params,
      options,
    )) as {
      result: { value?: unknown };
      exceptionDetails?: { text: string; exception?: { description?: string } };
    };
    if (exceptionDetails !== undefined) {
      const { text, exception } = exceptionDetails;
      throw new Error(exception?.description?.split("\n")[0] ?? text);
    }
    return result.value;
  }
}
