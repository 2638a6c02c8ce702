import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.eclipse.paho.client.mqttv3.IMqttDeliveryToken;
import org.eclipse.paho.client.mqttv3.IMqttToken;
import org.eclipse.paho.client.mqttv3.MqttAsyncClient;
import org.eclipse.paho.client.mqttv3.MqttCallback;
import org.eclipse.paho.client.mqttv3.MqttConnectOptions;
import org.eclipse.paho.client.mqttv3.MqttMessage;
import org.eclipse.paho.client.mqttv3.persist.MemoryPersistence;

/** MQTT 3.1.1. */
final class PeerThree extends Peer {
    private static final long LIMIT_MS = 15_000;
    private final MqttAsyncClient client;

    PeerThree(Broker broker, Options options) throws Exception {
        client = new MqttAsyncClient((Boolean.getBoolean("tls") ? "ssl://" : "tcp://") + broker.host + ":" + broker.port, options.clientId, new MemoryPersistence());
        client.setCallback(new MqttCallback() {
            public void messageArrived(String topic, MqttMessage message) {
                inbox.add(new Arrived(topic, message.getPayload(), message.getQos(), message.isRetained()));
            }

            public void connectionLost(Throwable cause) {}

            public void deliveryComplete(IMqttDeliveryToken token) {}
        });
        MqttConnectOptions settings = new MqttConnectOptions();
        settings.setMqttVersion(MqttConnectOptions.MQTT_VERSION_3_1_1);
        settings.setUserName(broker.user);
        settings.setPassword(broker.password.toCharArray());
        settings.setCleanSession(options.clean);
        settings.setKeepAliveInterval(options.keepaliveSeconds);
        settings.setMaxInflight(1000);
        if (options.willTopic != null) settings.setWill(options.willTopic, options.willText.getBytes(StandardCharsets.UTF_8), 1, false);
        IMqttToken token = client.connect(settings);
        token.waitForCompletion(LIMIT_MS);
        sessionPresent = token.getSessionPresent();
    }

    int subscribe(String filter, int qos) throws Exception {
        IMqttToken token = client.subscribe(filter, qos);
        token.waitForCompletion(LIMIT_MS);
        return token.getGrantedQos()[0];
    }

    void unsubscribe(String filter) throws Exception {
        client.unsubscribe(filter).waitForCompletion(LIMIT_MS);
    }

    void publish(String topic, byte[] payload, int qos, boolean isRetained) throws Exception {
        client.publish(topic, payload, qos, isRetained).waitForCompletion(LIMIT_MS);
    }

    void publishAll(String topic, String[] texts, int qos) throws Exception {
        List<IMqttDeliveryToken> pending = new ArrayList<>();
        for (String text : texts) {
            pending.add(client.publish(topic, text.getBytes(StandardCharsets.UTF_8), qos, false));
            // The client refuses a publish above its own window instead of waiting.
            if (pending.size() >= 500) pending.remove(0).waitForCompletion(LIMIT_MS);
        }
        for (IMqttDeliveryToken token : pending) token.waitForCompletion(LIMIT_MS);
    }

    void drop() throws Exception {
        client.disconnectForcibly(0, 0, false);
    }

    public void close() throws Exception {
        if (client.isConnected()) client.disconnect().waitForCompletion(LIMIT_MS);
        client.close();
    }
}
