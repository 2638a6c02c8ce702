import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Eclipse Paho for Java against a broker.
 *   Main cells VERSION HOST PORT USER PASSWORD [KEY ...]   runs every check (or the named ones); one report line each
 *   Main worker VERSION HOST PORT USER PASSWORD            publishes and subscribes as told on standard input
 * VERSION is 4 (MQTT 3.1.1) or 5. The line protocol is described in interop/README.md.
 */
public final class Main {
    public static void main(String[] args) throws Exception {
        Broker broker = new Broker(args[1], args[2], args[3], args[4], args[5]);
        if (args[0].equals("worker")) serve(broker);
        else cells(broker, Arrays.asList(args).subList(6, args.length));
        System.exit(0);
    }

    private static void cells(Broker broker, List<String> only) throws InterruptedException {
        for (Map.Entry<String, Checks.Check> entry : Checks.all().entrySet()) {
            if (!only.isEmpty() && !only.contains(entry.getKey())) continue;
            long began = System.nanoTime();
            Throwable[] failure = {null};
            Thread thread = new Thread(() -> {
                try {
                    entry.getValue().run(broker);
                } catch (Throwable thrown) {
                    failure[0] = thrown;
                }
            });
            thread.setDaemon(true);
            thread.start();
            thread.join(40_000);
            if (thread.isAlive()) failure[0] = new AssertionError("hangs in " + Arrays.toString(thread.getStackTrace()));
            broker.closeAll();
            String line = "cell=" + entry.getKey() + "&ms=" + (System.nanoTime() - began) / 1_000_000;
            System.out.println(failure[0] == null ? line + "&ok=1" : line + "&ok=0&error=" + Form.escape(failure[0].toString()));
        }
    }

    private static void serve(Broker broker) throws Exception {
        Map<String, Peer> peers = new HashMap<>();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Form request = Form.parse(line);
            String answer = "id=" + request.get("id");
            try {
                answer += "&ok=1" + answerTo(broker, request, peers);
            } catch (Exception failure) {
                answer += "&ok=0&error=" + Form.escape(failure.toString());
            }
            System.out.println(answer);
            System.out.flush();
        }
    }

    private static String answerTo(Broker broker, Form request, Map<String, Peer> peers) throws Exception {
        String handle = request.get("handle");
        switch (request.get("op")) {
            case "send":
                Peer sender = broker.connect();
                for (String body : request.all("body")) sender.publish(request.get("address"), body);
                sender.close();
                return "";
            case "open":
                Peer receiver = broker.connect();
                receiver.subscribe(request.get("address"), 1);
                peers.put(handle, receiver);
                return "";
            case "take":
                StringBuilder bodies = new StringBuilder();
                for (int left = request.number("count"); left > 0; left--) {
                    Peer.Arrived message = peers.get(handle).next(request.number("limit"));
                    if (message == null) break;
                    bodies.append("&body=").append(Form.escape(message.text()));
                }
                return bodies.toString();
            case "close":
                peers.remove(handle).close();
                return "";
            default:
                throw new IllegalArgumentException("no operation " + request.get("op"));
        }
    }
}
