/**
 * Every foreign client and suite, pinned. The npm clients are pinned in package.json, the Maven ones in their pom.xml.
 */
export const PYTHON_PACKAGES = {
  proton: ["python-qpid-proton==0.40.0"],
  stomp: ["stomp.py==9.0.0"],
  paho: ["paho-mqtt==2.2.0"],
} as const;

/** A headless Chromium as an npm package, where the machine has none. */
export const NPM_CHROMIUM = "153.0.0";

export const GO_AMQP = "v1.7.0";
export const PAHO_GO = "v1.5.1";
