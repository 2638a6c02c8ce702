import jakarta.jms.Connection;
import jakarta.jms.JMSContext;
import jakarta.jms.JMSException;
import java.util.ArrayList;
import java.util.List;
import org.apache.qpid.jms.JmsConnectionFactory;

/** Where the broker is; opens connections and closes them all when a check is over. */
final class Broker {
    final String host;
    final int port;
    final String user;
    final String password;
    private final List<AutoCloseable> open = new ArrayList<>();

    Broker(String host, int port, String user, String password) {
        this.host = host;
        this.port = port;
        this.user = user;
        this.password = password;
    }

    JmsConnectionFactory factory(String... options) {
        String query = String.join("&", options);
        // The authority is in the trust store that the system properties name.
        String url = (Boolean.getBoolean("tls") ? "amqps://" : "amqp://") + host + ":" + port + (query.isEmpty() ? "" : "?" + query);
        return new JmsConnectionFactory(user, password, url);
    }

    /** A started connection. */
    Connection connect(String... options) throws JMSException {
        return connectAs(null, options);
    }

    synchronized Connection connectAs(String clientId, String... options) throws JMSException {
        Connection connection = factory(options).createConnection();
        open.add(connection);
        if (clientId != null) connection.setClientID(clientId);
        connection.start();
        return connection;
    }

    synchronized JMSContext context(int mode) {
        JMSContext context = factory().createContext(mode);
        open.add(context);
        return context;
    }

    synchronized void closeAll() {
        for (AutoCloseable each : open) {
            // A connection that hangs in its close must not take the other checks with it.
            Thread closer = new Thread(() -> {
                try {
                    each.close();
                } catch (Exception ignored) {
                    // Closed by the check, or broken by it.
                }
            });
            closer.setDaemon(true);
            closer.start();
            try {
                closer.join(3000);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
        }
        open.clear();
    }
}
