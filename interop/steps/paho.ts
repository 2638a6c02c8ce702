/** Eclipse Paho in Python, Java and Go (its own functional tests), and the command-line clients of Mosquitto. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../harness/paths.ts";
import { runReported } from "../harness/reported.ts";
import type { Step } from "../harness/step.ts";
import { runGoSuite } from "../harness/suite.ts";
import { goSuite, javaProgram, pythonEnvironment } from "../harness/toolchain.ts";
import { PAHO_GO, PYTHON_PACKAGES } from "../harness/versions.ts";
import { JVM_FLAGS } from "./qpid-jms.ts";

export const pahoPython = pythonEnvironment("paho", PYTHON_PACKAGES.paho);
export const PAHO_PYTHON_CLIENT = join(ROOT, "interop/paho-python/client.py");

export const pahoJava = javaProgram({
  name: "paho-java",
  sources: ["interop/paho-java/src", "interop/java"],
  pom: "interop/paho-java/pom.xml",
});

const VERSIONS = [
  [4, "3.1.1"],
  [5, "5"],
] as const;

const onlyKeys = (): string[] =>
  (process.env["CHECKS"] ?? "").split(",").filter((key) => key !== "");

export const pahoPythonStep: Step = {
  name: "paho-python",
  about: "Eclipse Paho (Python), MQTT 3.1.1 and 5",
  table: "MQTT",
  limitSeconds: 150,
  needs: [pahoPython],
  async run(context) {
    const { host, port, user, password } = await context.broker();
    for (const [version, name] of VERSIONS) {
      const where = [String(version), host, String(port), user, password];
      await runReported(context, {
        client: `Paho Python ${name}`,
        command: pahoPython.python,
        args: [PAHO_PYTHON_CLIENT, "cells", ...where, ...onlyKeys()],
        limitMs: 70_000,
      });
    }
  },
};

export const pahoJavaStep: Step = {
  name: "paho-java",
  about: "Eclipse Paho (Java), MQTT 3.1.1 and 5",
  table: "MQTT",
  limitSeconds: 150,
  needs: [pahoJava],
  async run(context) {
    const { host, port, user, password } = await context.broker();
    for (const [version, name] of VERSIONS) {
      const where = [String(version), host, String(port), user, password];
      await runReported(context, {
        client: `Paho Java ${name}`,
        command: "java",
        args: [...JVM_FLAGS, "-cp", pahoJava.classPath, "Main", "cells", ...where, ...onlyKeys()],
        limitMs: 70_000,
      });
    }
  },
};

const suite = goSuite("paho-go-suite", "github.com/eclipse/paho.mqtt.golang", PAHO_GO);

export const pahoGoSuite: Step = {
  name: "paho-go-suite",
  about: "the functional tests inside github.com/eclipse/paho.mqtt.golang",
  table: "Suites written by others",
  limitSeconds: 320,
  needs: [suite],
  async run(context) {
    const { host, port } = await context.broker();
    const source = readFileSync(join(await suite.sourceDir(), "fvt_client_test.go"), "utf8");
    const tests = [...source.matchAll(/^func (Test\w+)\(t /gm)].map((match) => match[1]!);
    await runGoSuite(context, {
      suite: `paho.mqtt.golang ${PAHO_GO.slice(1)}`,
      binary: suite.binary,
      tests,
      expected: tests.length,
      // The suite appends ":1883"; behind the slash that is a path, which it ignores.
      env: { TEST_FVT_ADDR: `${host}:${port}/` },
      limitSeconds: 300,
    });
  },
};
