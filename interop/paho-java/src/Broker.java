import java.util.ArrayList;
import java.util.List;

/** Where the broker is, and which library talks to it; closes the connections of a check when it is over. */
final class Broker {
    final int version;
    final String host;
    final int port;
    final String user;
    final String password;
    private final List<Peer> open = new ArrayList<>();

    Broker(String version, String host, String port, String user, String password) {
        this.version = Integer.parseInt(version);
        this.host = host;
        this.port = Integer.parseInt(port);
        this.user = user;
        this.password = password;
    }

    Peer connect() throws Exception {
        return connect(new Peer.Options());
    }

    synchronized Peer connect(Peer.Options options) throws Exception {
        Peer peer = version == 5 ? new PeerFive(this, options) : new PeerThree(this, options);
        open.add(peer);
        return peer;
    }

    synchronized void closeAll() {
        for (Peer peer : open) {
            try {
                peer.close();
            } catch (Exception ignored) {
                // Closed or dropped by the check.
            }
        }
        open.clear();
    }

    String topic(String name) {
        return "java" + version + "/" + name;
    }
}
