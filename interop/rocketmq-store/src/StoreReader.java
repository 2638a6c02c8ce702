import java.nio.ByteBuffer;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentMap;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageExtBrokerInner;
import org.apache.rocketmq.store.DefaultMessageStore;
import org.apache.rocketmq.store.DispatchRequest;
import org.apache.rocketmq.store.GetMessageResult;
import org.apache.rocketmq.store.GetMessageStatus;
import org.apache.rocketmq.store.QueryMessageResult;
import org.apache.rocketmq.store.SelectMappedBufferResult;
import org.apache.rocketmq.store.queue.ConsumeQueueInterface;

/** Reads every message of every ConsumeQueue the way a broker does, and checks what can be checked. */
final class StoreReader {
    private final DefaultMessageStore store;
    private int messages;
    private int problems;

    private StoreReader(DefaultMessageStore store) {
        this.store = store;
    }

    static void run(String root, boolean hasRecordCrc) throws Exception {
        DefaultMessageStore store = Stores.open(root, Stores.segmentBytes(root), hasRecordCrc);
        Stores.awaitDispatch(store);
        StoreReader reader = new StoreReader(store);
        for (Map.Entry<String, ConcurrentMap<Integer, ConsumeQueueInterface>> topic :
            new TreeMap<>(store.getConsumeQueueTable()).entrySet()) {
            for (Integer queueId : new TreeMap<>(topic.getValue()).keySet()) {
                reader.readQueue(topic.getKey(), queueId);
            }
        }
        Json.of("end")
            .with("messages", reader.messages)
            .with("problems", reader.problems)
            .with("minPhysicalOffset", store.getMinPhyOffset())
            .with("maxPhysicalOffset", store.getMaxPhyOffset())
            .print();
        store.shutdown();
    }

    /** What the Index finds by each key, read where it lies. */
    static void find(String root, List<String> topicAndKeys) throws Exception {
        DefaultMessageStore store = Stores.open(root, Stores.segmentBytes(root), true);
        Stores.awaitDispatch(store);
        String topic = topicAndKeys.get(0);
        for (String key : topicAndKeys.subList(1, topicAndKeys.size())) {
            QueryMessageResult result = store.queryMessage(topic, key, 64, 0, Long.MAX_VALUE);
            for (SelectMappedBufferResult candidate : result.getMessageMapedList()) {
                MessageExt message = MessageDecoder.decode(candidate.getByteBuffer().duplicate(), true, false);
                if (message == null || !message.getTopic().equals(topic)) continue;
                Json.of("found")
                    .with("key", key)
                    .with("queueOffset", message.getQueueOffset())
                    .with("bodyLength", message.getBody() == null ? 0 : message.getBody().length)
                    .print();
            }
            result.release();
        }
        store.shutdown();
    }

    private void readQueue(String topic, int queueId) throws Exception {
        long offset = store.getMinOffsetInQueue(topic, queueId);
        long end = store.getMaxOffsetInQueue(topic, queueId);
        Json.of("queue").with("topic", topic).with("queueId", queueId).with("min", offset).with("max", end).print();
        while (offset < end) {
            GetMessageResult result = store.getMessage("interop", topic, queueId, offset, 32, null);
            if (result == null || result.getStatus() != GetMessageStatus.FOUND) {
                problem(topic, queueId, offset, "getMessage: " + (result == null ? "null" : result.getStatus()));
                return;
            }
            List<Long> offsets = result.getMessageQueueOffset();
            for (int i = 0; i < result.getMessageMapedList().size(); i++) {
                readMessage(topic, queueId, offsets.get(i), result.getMessageMapedList().get(i));
            }
            if (result.getNextBeginOffset() <= offset) {
                problem(topic, queueId, offset, "no progress");
                return;
            }
            offset = result.getNextBeginOffset();
            result.release();
        }
    }

    private void readMessage(String topic, int queueId, long queueOffset, SelectMappedBufferResult found) throws Exception {
        messages++;
        ByteBuffer bytes = found.getByteBuffer();
        DispatchRequest check = store.getCommitLog().checkMessageAndReturnSize(bytes.duplicate(), true, false, true);
        if (!check.isSuccess() || check.getMsgSize() != found.getSize()) {
            problem(topic, queueId, queueOffset, "record check: size " + check.getMsgSize() + " of " + found.getSize());
        }
        MessageExt message = MessageDecoder.decode(bytes.duplicate(), true, false, false, false, true);
        if (message == null) {
            problem(topic, queueId, queueOffset, "cannot be decoded");
            return;
        }
        boolean isLight = topic.startsWith("%LMQ%");
        if (!isLight) {
            if (!message.getTopic().equals(topic)) problem(topic, queueId, queueOffset, "topic " + message.getTopic());
            if (message.getQueueId() != queueId) problem(topic, queueId, queueOffset, "queueId " + message.getQueueId());
            if (message.getQueueOffset() != queueOffset) {
                problem(topic, queueId, queueOffset, "queueOffset " + message.getQueueOffset());
            }
        }
        long tagsCode = store.findConsumeQueue(topic, queueId).get(queueOffset).getTagsCode();
        if (tagsCode != MessageExtBrokerInner.tagsString2tagsCode(message.getTags())) {
            problem(topic, queueId, queueOffset, "tags code " + tagsCode + " for " + message.getTags());
        }
        // The decoder has no array for an empty body.
        byte[] body = message.getBody() == null ? new byte[0] : message.getBody();
        if (UtilAll.crc32(body) != message.getBodyCRC()) problem(topic, queueId, queueOffset, "body CRC");
        if (!isLight) checkKeys(message, queueOffset);
        Json.of("message")
            .with("topic", topic)
            .with("queueId", queueId)
            .with("queueOffset", queueOffset)
            .with("physicalOffset", message.getCommitLogOffset())
            .with("size", message.getStoreSize())
            .with("bodyCrc", message.getBodyCRC())
            .with("bodyLength", body.length)
            .with("flag", message.getFlag())
            .with("sysFlag", message.getSysFlag())
            .with("bornTimestamp", message.getBornTimestamp())
            .with("storeTimestamp", message.getStoreTimestamp())
            .with("bornHost", message.getBornHost())
            .with("storeHost", message.getStoreHost())
            .with("reconsumeTimes", message.getReconsumeTimes())
            .with("properties", message.getProperties())
            .print();
    }

    private void checkKeys(MessageExt message, long queueOffset) {
        String uniqueKey = message.getProperty(MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX);
        if (uniqueKey != null) checkKey(message, queueOffset, uniqueKey);
        if (message.getKeys() == null) return;
        for (String key : message.getKeys().split(MessageConst.KEY_SEPARATOR)) {
            if (!key.isEmpty()) checkKey(message, queueOffset, key);
        }
    }

    private void checkKey(MessageExt message, long queueOffset, String key) {
        QueryMessageResult result = store.queryMessage(message.getTopic(), key, 64, 0, Long.MAX_VALUE);
        boolean isFound = false;
        for (SelectMappedBufferResult candidate : result.getMessageMapedList()) {
            if (candidate.getStartOffset() == message.getCommitLogOffset()) isFound = true;
        }
        result.release();
        if (!isFound) problem(message.getTopic(), message.getQueueId(), queueOffset, "not found by key " + key);
    }

    private void problem(String topic, int queueId, long queueOffset, String text) {
        problems++;
        Json.of("problem").with("topic", topic).with("queueId", queueId).with("queueOffset", queueOffset).with("text", text).print();
    }
}
