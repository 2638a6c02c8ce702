/** docs/configuration.md, written from the schema. `sluice config reference` prints it; a test keeps the file true. */
import { type ConfigKey, configSections, environmentName } from "./keys.ts";

const HEAD = `# Configuration

Sluice runs without any. To change something, write a TOML file and start with \`sluice serve --config FILE\`, set an
environment variable, or pass \`--set key=value\`. Where several say something about the same key, the flag wins over the
variable and the variable over the file. An unknown key or a value of the wrong kind stops the start with the file and
line and the nearest key that exists.

Sizes are numbers of bytes or text such as \`"64MiB"\`; durations are numbers of milliseconds or text such as \`"10s"\`.

\`\`\`toml
data = "/var/lib/sluice"

[listeners.main]
host = "::"                      # every address; needs a user: sluice user add NAME

[tls]
certificate = "/etc/sluice/chain.pem"
key = "/etc/sluice/key.pem"

[listeners.stompws]
enabled = false

[[policies]]
match = "orders/#"
kind = "queue"
maxLength = 100000
overflow = "reject"
\`\`\`

<!-- Everything below is generated from src/config/schema.ts: npm run --silent build && node dist/src/main.js config reference > docs/configuration.md -->
`;

export function configReference(): string {
  const parts = [HEAD];
  for (const section of configSections()) {
    const table = `[${section.path.replace("*", "NAME")}]`;
    parts.push(
      section.path === ""
        ? "## Top level\n"
        : `## \`${section.isList ? `[${table}]` : table}\`\n\n${section.description}\n`,
    );
    parts.push("| key | type | default | meaning |\n|---|---|---|---|");
    parts.push(...section.keys.map(row), "");
  }
  parts.push(
    `## Environment

Every key outside \`[[policies]]\` and \`[[quotas]]\` has a variable: \`limits.connectionsMax\` is \`${environmentName("limits.connectionsMax")}\`, \`listeners.main.host\` is
\`${environmentName("listeners.main.host")}\`. \`SLUICE_CONFIG\` names the file when \`--config\` does not.
`,
  );
  return parts.join("\n");
}

function row(key: ConfigKey): string {
  const name = key.path.split(".").at(-1)!;
  const cells = [
    `\`${name}\``,
    key.type,
    key.fallback === "" ? "" : `\`${key.fallback}\``,
    key.description,
  ];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}
