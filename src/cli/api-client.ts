/** The admin API as the command line uses it. */
import { readLocalAccess } from "../data-directory.ts";
import { EXIT, StartError } from "../start-error.ts";
import { type ConfigFlags, configOf } from "./config-flags.ts";

export interface ApiFlags extends ConfigFlags {
  readonly url?: string;
  readonly json?: boolean;
}

type Query = Readonly<Record<string, string | undefined>>;

interface Answer<T> {
  readonly body: T;
  readonly link: string;
}

export class ApiClient {
  readonly url: string;
  readonly #authorization: string | undefined;

  /**
   * The broker at `--url` or SLUICE_URL (with SLUICE_USER and SLUICE_PASSWORD), else the one that runs on the data
   * directory.
   */
  static async open(flags: ApiFlags): Promise<ApiClient> {
    const url = flags.url ?? process.env["SLUICE_URL"];
    if (url !== undefined) {
      const { SLUICE_USER: user, SLUICE_PASSWORD: password = "" } = process.env;
      const basic = Buffer.from(`${user}:${password}`).toString("base64");
      return new ApiClient(url, user === undefined ? undefined : `Basic ${basic}`);
    }
    const config = await configOf(flags);
    const local = await readLocalAccess(config);
    if (local === undefined) {
      throw new StartError(
        EXIT.FAILED,
        `no broker runs on ${config.data} (name its directory with --data, or its address with --url)`,
      );
    }
    return new ApiClient(local.url, `Bearer ${local.token}`);
  }

  private constructor(url: string, authorization: string | undefined) {
    this.url = url.replace(/\/+$/, "");
    this.#authorization = authorization;
  }

  get<T>(path: string, query: Query = {}): Promise<T> {
    return this.send("GET", path, query);
  }

  /** A list with all its pages. */
  async list<T>(path: string, query: Query = {}): Promise<T[]> {
    const items: T[] = [];
    for await (const page of this.pages<T>(path, query)) for (const item of page) items.push(item);
    return items;
  }

  /** The same a page at a time. */
  async *pages<T>(path: string, query: Query = {}): AsyncGenerator<T[]> {
    for (let next: string | undefined = path; next !== undefined; ) {
      const page: Answer<T[]> = await this.#send("GET", next, next === path ? query : {});
      yield page.body;
      next = /<([^>]*)>; rel="next"/.exec(page.link)?.[1];
    }
  }

  async send<T>(method: string, path: string, query: Query = {}): Promise<T> {
    return (await this.#send<T>(method, path, query)).body;
  }

  async #send<T>(method: string, path: string, query: Query): Promise<Answer<T>> {
    let url: URL;
    try {
      url = new URL(this.url + path);
    } catch {
      throw new StartError(
        EXIT.BAD_CONFIGURATION,
        `"${this.url}" is no address: expected one as http://broker.example:15672`,
      );
    }
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    let response: Response;
    try {
      response = await fetch(url, {
        method,
        headers: {
          "content-type": "application/json",
          ...(this.#authorization === undefined ? {} : { authorization: this.#authorization }),
        },
      });
    } catch (error) {
      const { cause } = error as { cause?: NodeJS.ErrnoException };
      throw new StartError(
        EXIT.FAILED,
        `${this.url}: no answer (${cause?.code ?? cause?.message ?? error}): does a broker listen there?`,
      );
    }
    const body = (await response.json().catch(() => ({}))) as { error?: string };
    if (!response.ok) {
      throw new StartError(EXIT.FAILED, `${this.url}: ${body.error ?? response.statusText}`);
    }
    return { body: body as T, link: response.headers.get("link") ?? "" };
  }
}
