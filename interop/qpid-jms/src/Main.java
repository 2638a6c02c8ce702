import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Qpid JMS against a broker.
 *   Main cells HOST PORT USER PASSWORD [KEY ...]   runs every check (or the named ones); one report line each
 *   Main worker HOST PORT USER PASSWORD            sends and receives as told on standard input
 * The source names jakarta.jms; for the 1.x client the harness compiles the same text with javax.jms.
 */
public final class Main {
    public static void main(String[] args) throws Exception {
        Broker broker = new Broker(args[1], Integer.parseInt(args[2]), args[3], args[4]);
        if (args[0].equals("worker")) {
            new Worker(broker).run();
            System.exit(0);
        }
        Map<String, Check> checks = new LinkedHashMap<>();
        QueueChecks.addTo(checks);
        MessageChecks.addTo(checks);
        AcknowledgeChecks.addTo(checks);
        TopicChecks.addTo(checks);
        TransactionChecks.addTo(checks);
        ErrorChecks.addTo(checks);
        java.util.List<String> only = java.util.Arrays.asList(args).subList(5, args.length);
        for (Map.Entry<String, Check> entry : checks.entrySet()) {
            if (!only.isEmpty() && !only.contains(entry.getKey())) continue;
            report(entry.getKey(), entry.getValue(), broker);
        }
        System.exit(0);
    }

    private static void report(String key, Check check, Broker broker) throws InterruptedException {
        long began = System.nanoTime();
        Throwable[] failure = {null};
        // Each check has its own thread, so that one that hangs costs only its own cell.
        Thread thread = new Thread(() -> {
            try {
                check.run(broker);
            } catch (Throwable thrown) {
                failure[0] = thrown;
            }
        });
        thread.setDaemon(true);
        thread.start();
        thread.join(40_000);
        if (thread.isAlive()) {
            StackTraceElement[] stack = thread.getStackTrace();
            failure[0] = new AssertionError("hangs in " + ownFrame(stack));
        }
        broker.closeAll();
        long ms = (System.nanoTime() - began) / 1_000_000;
        String line = "cell=" + Form.escape(key) + "&ms=" + ms;
        if (failure[0] == null) {
            System.out.println(line + "&ok=1");
            return;
        }
        System.out.println(line + "&ok=0&error=" + Form.escape(failure[0] + " at " + ownFrame(failure[0].getStackTrace())));
    }

    private static String ownFrame(StackTraceElement[] stack) {
        for (StackTraceElement frame : stack) {
            if (frame.getClassName().matches("(Queue|Message|Acknowledge|Topic|Transaction|Error)Checks.*")) {
                return frame.getFileName() + ":" + frame.getLineNumber();
            }
        }
        return stack.length > 0 ? stack[0].toString() : "?";
    }
}
