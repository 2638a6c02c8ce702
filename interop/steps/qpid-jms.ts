/** Qpid JMS, both generations: one Java program, compiled against javax.jms for 1.x and jakarta.jms for 2.x. */
import { runReported } from "../harness/reported.ts";
import type { Step } from "../harness/step.ts";
import { type JavaProgram, javaProgram } from "../harness/toolchain.ts";

const SOURCES = ["interop/qpid-jms/src", "interop/java"];

export const jms1Program = javaProgram({
  name: "qpid-jms-1",
  sources: SOURCES,
  pom: "interop/qpid-jms/v1/pom.xml",
  rewrite: (source) => source.replaceAll("jakarta.jms", "javax.jms"),
});

export const jms2Program = javaProgram({
  name: "qpid-jms-2",
  sources: SOURCES,
  pom: "interop/qpid-jms/v2/pom.xml",
});

/** JVM flags for a client that lives for seconds: start fast, stay small. */
export const JVM_FLAGS = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

function jmsStep(program: JavaProgram, client: string): Step {
  return {
    name: program.name,
    about: `${client} through its whole API`,
    table: "AMQP 1.0",
    limitSeconds: 180,
    needs: [program],
    async run(context) {
      const { host, port, user, password } = await context.broker();
      const where = [host, String(port), user, password];
      const only = (process.env["CHECKS"] ?? "").split(",").filter((key) => key !== "");
      await runReported(context, {
        client,
        command: "java",
        args: [...JVM_FLAGS, "-cp", program.classPath, "Main", "cells", ...where, ...only],
        limitMs: 170_000,
      });
    },
  };
}

export const qpidJms1 = jmsStep(jms1Program, "Qpid JMS 1.16 (javax)");
export const qpidJms2 = jmsStep(jms2Program, "Qpid JMS 2.10 (jakarta)");
