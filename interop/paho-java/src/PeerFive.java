import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.eclipse.paho.mqttv5.client.IMqttToken;
import org.eclipse.paho.mqttv5.client.MqttAsyncClient;
import org.eclipse.paho.mqttv5.client.MqttCallback;
import org.eclipse.paho.mqttv5.client.MqttConnectionOptions;
import org.eclipse.paho.mqttv5.client.MqttDisconnectResponse;
import org.eclipse.paho.mqttv5.client.persist.MemoryPersistence;
import org.eclipse.paho.mqttv5.common.MqttException;
import org.eclipse.paho.mqttv5.common.MqttMessage;
import org.eclipse.paho.mqttv5.common.packet.MqttProperties;

/** MQTT 5. */
final class PeerFive extends Peer {
    private static final long LIMIT_MS = 15_000;
    private final MqttAsyncClient client;

    PeerFive(Broker broker, Options options) throws Exception {
        client = new MqttAsyncClient((Boolean.getBoolean("tls") ? "ssl://" : "tcp://") + broker.host + ":" + broker.port, options.clientId, new MemoryPersistence());
        client.setCallback(new MqttCallback() {
            public void messageArrived(String topic, MqttMessage message) {
                inbox.add(new Arrived(topic, message.getPayload(), message.getQos(), message.isRetained()));
            }

            public void disconnected(MqttDisconnectResponse response) {}

            public void mqttErrorOccurred(MqttException exception) {}

            public void deliveryComplete(IMqttToken token) {}

            public void connectComplete(boolean reconnect, String uri) {}

            public void authPacketArrived(int reason, MqttProperties properties) {}
        });
        MqttConnectionOptions settings = new MqttConnectionOptions();
        settings.setUserName(broker.user);
        settings.setPassword(broker.password.getBytes(StandardCharsets.UTF_8));
        settings.setCleanStart(options.clean);
        settings.setSessionExpiryInterval(options.clean ? 0L : 600L);
        settings.setKeepAliveInterval(options.keepaliveSeconds);
        settings.setReceiveMaximum(1000);
        if (options.willTopic != null) {
            settings.setWill(options.willTopic, new MqttMessage(options.willText.getBytes(StandardCharsets.UTF_8), 1, false, null));
        }
        IMqttToken token = client.connect(settings);
        token.waitForCompletion(LIMIT_MS);
        sessionPresent = token.getSessionPresent();
    }

    int subscribe(String filter, int qos) throws Exception {
        IMqttToken token = client.subscribe(filter, qos);
        token.waitForCompletion(LIMIT_MS);
        return token.getReasonCodes()[0];
    }

    void unsubscribe(String filter) throws Exception {
        client.unsubscribe(filter).waitForCompletion(LIMIT_MS);
    }

    void publish(String topic, byte[] payload, int qos, boolean isRetained) throws Exception {
        client.publish(topic, payload, qos, isRetained).waitForCompletion(LIMIT_MS);
    }

    void publishAll(String topic, String[] texts, int qos) throws Exception {
        List<IMqttToken> pending = new ArrayList<>();
        for (String text : texts) {
            pending.add(client.publish(topic, text.getBytes(StandardCharsets.UTF_8), qos, false));
            // The client refuses a publish above the window instead of waiting.
            if (pending.size() >= 500) pending.remove(0).waitForCompletion(LIMIT_MS);
        }
        for (IMqttToken token : pending) token.waitForCompletion(LIMIT_MS);
    }

    void drop() throws Exception {
        client.disconnectForcibly(0, 0, false);
    }

    public void close() throws Exception {
        if (client.isConnected()) client.disconnect().waitForCompletion(LIMIT_MS);
        client.close();
    }
}
