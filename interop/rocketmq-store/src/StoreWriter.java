import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExtBatch;
import org.apache.rocketmq.common.message.MessageExtBrokerInner;
import org.apache.rocketmq.common.sysflag.MessageSysFlag;
import org.apache.rocketmq.store.AppendMessageResult;
import org.apache.rocketmq.store.DefaultMessageStore;
import org.apache.rocketmq.store.PutMessageResult;

/** Fills a store with one of everything the record layout knows, over several small segments, and says what it wrote. */
final class StoreWriter {
    private static final long BORN = 1_700_000_000_000L;
    private static final InetSocketAddress V4 = address("192.0.2.17", 5672);
    private static final InetSocketAddress V6 = address("2001:db8::17", 61613);
    private final DefaultMessageStore store;
    private int count;

    private StoreWriter(DefaultMessageStore store) {
        this.store = store;
    }

    static void run(String root, boolean writesRecordCrc) throws Exception {
        DefaultMessageStore store = Stores.open(root, Stores.SMALL_SEGMENT, writesRecordCrc);
        StoreWriter writer = new StoreWriter(store);
        writer.writeAll();
        Stores.awaitDispatch(store);
        Json.of("end").with("messages", writer.count).with("maxPhysicalOffset", store.getMaxPhyOffset()).print();
        store.shutdown();
    }

    private void writeAll() throws Exception {
        for (int i = 0; i < 60; i++) {
            MessageExtBrokerInner message = message("TopicA", i % 4, "body " + i + " of TopicA " + "x".repeat(i * 7));
            message.setTags(i % 3 == 0 ? "tagA" : i % 3 == 1 ? "größe" : null);
            message.setKeys("order-" + i + " customer-" + i % 5);
            MessageAccessor.putProperty(message, MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX, "7F00000100002A9F" + i);
            MessageAccessor.putProperty(message, "name-" + i, "wert größer 😀 " + i);
            message.setFlag(i);
            message.setReconsumeTimes(i % 4);
            put(message);
        }
        writeAddresses();
        // A topic name that needs the second version of the record.
        for (int i = 0; i < 3; i++) put(message("LongTopic-" + "n".repeat(180), 0, "long name " + i));
        put(message("TopicB", 0, ""));
        MessageExtBrokerInner binary = message("TopicB", 0, "");
        binary.setBody(new byte[] {0, 1, 2, (byte) 0x80, (byte) 0xff, 0x01, 0x02});
        put(binary);
        MessageExtBrokerInner compressed = message("TopicB", 1, "as if compressed");
        compressed.setSysFlag(compressed.getSysFlag() | MessageSysFlag.COMPRESSED_FLAG | MessageSysFlag.COMPRESSION_ZLIB_TYPE);
        put(compressed);
        writeTransactions();
        writeLightQueues();
        writeBatch();
        // Enough to fill several segments, with sizes that end them at different places.
        for (int i = 0; i < 40; i++) put(message("Bulk", i % 2, "b".repeat(1000 + i * 317)));
    }

    private void writeAddresses() throws Exception {
        for (int i = 0; i < 4; i++) {
            MessageExtBrokerInner message = message("Addresses", 0, "from " + i);
            message.setBornHost((i & 1) == 0 ? V4 : V6);
            message.setStoreHost((i & 2) == 0 ? V4 : V6);
            if ((i & 1) != 0) message.setBornHostV6Flag();
            if ((i & 2) != 0) message.setStoreHostAddressV6Flag();
            put(message);
        }
    }

    /** Prepared and rolled back records are in the log but in no queue. */
    private void writeTransactions() throws Exception {
        int[] types = {
            MessageSysFlag.TRANSACTION_PREPARED_TYPE, MessageSysFlag.TRANSACTION_COMMIT_TYPE, MessageSysFlag.TRANSACTION_ROLLBACK_TYPE
        };
        for (int type : types) {
            MessageExtBrokerInner message = message("Transactions", 0, "type " + type);
            message.setSysFlag(message.getSysFlag() | type);
            message.setKeys("tx-" + type);
            if (type == MessageSysFlag.TRANSACTION_COMMIT_TYPE) message.setPreparedTransactionOffset(4242);
            put(message);
        }
    }

    /** Stored once, in three queues. */
    private void writeLightQueues() throws Exception {
        for (int i = 0; i < 5; i++) {
            MessageExtBrokerInner message = message("Fanout", 0, "light " + i);
            MessageAccessor.putProperty(message, MessageConst.PROPERTY_INNER_MULTI_DISPATCH, i == 2 ? "%LMQ%one" : "%LMQ%one,%LMQ%two");
            put(message);
        }
    }

    private void writeBatch() throws Exception {
        List<Message> messages = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            Message message = new Message("Batch", "tagB", "batch-" + i, ("in a batch " + i).getBytes(StandardCharsets.UTF_8));
            message.setWaitStoreMsgOK(false);
            messages.add(message);
        }
        MessageExtBatch batch = new MessageExtBatch();
        batch.setTopic("Batch");
        batch.setQueueId(0);
        batch.setBody(MessageDecoder.encodeMessages(messages));
        batch.setBornTimestamp(BORN);
        batch.setBornHost(V4);
        batch.setStoreHost(V4);
        PutMessageResult result = store.putMessages(batch);
        if (!result.isOk()) throw new IllegalStateException("batch: " + result.getPutMessageStatus());
        count += 3;
        Json.of("batch").with("messages", 3).with("bytes", result.getAppendMessageResult().getWroteBytes()).print();
    }

    private MessageExtBrokerInner message(String topic, int queueId, String body) {
        MessageExtBrokerInner message = new MessageExtBrokerInner();
        message.setTopic(topic);
        message.setQueueId(queueId);
        message.setBody(body.getBytes(StandardCharsets.UTF_8));
        message.setBornTimestamp(BORN + count);
        message.setBornHost(V4);
        message.setStoreHost(V4);
        return message;
    }

    private void put(MessageExtBrokerInner message) throws Exception {
        message.setTagsCode(MessageExtBrokerInner.tagsString2tagsCode(message.getTags()));
        message.setPropertiesString(MessageDecoder.messageProperties2String(message.getProperties()));
        PutMessageResult result = store.putMessage(message);
        if (!result.isOk()) throw new IllegalStateException(message.getTopic() + ": " + result.getPutMessageStatus());
        count++;
        AppendMessageResult appended = result.getAppendMessageResult();
        Json.of("put")
            .with("topic", message.getTopic())
            .with("queueId", message.getQueueId())
            .with("queueOffset", appended.getLogicsOffset())
            .with("physicalOffset", appended.getWroteOffset())
            .with("size", appended.getWroteBytes())
            .with("bodyCrc", org.apache.rocketmq.common.UtilAll.crc32(message.getBody()))
            .print();
    }

    private static InetSocketAddress address(String host, int port) {
        try {
            return new InetSocketAddress(InetAddress.getByName(host), port);
        } catch (java.net.UnknownHostException error) {
            throw new IllegalStateException(error);
        }
    }
}
