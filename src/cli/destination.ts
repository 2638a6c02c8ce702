/** `orders`, `queue:orders`, `topic:news/eu` as a path of the admin API. */
export function destinationPath(destination: string): string {
  const [, kind = "queue", name = ""] = /^(?:(queue|topic):)?(.*)$/s.exec(destination) ?? [];
  return `/api/${kind}s/${encodeURIComponent(name)}`;
}
