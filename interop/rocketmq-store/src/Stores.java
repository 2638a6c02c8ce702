import java.io.File;
import java.lang.reflect.Field;
import java.lang.reflect.Proxy;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.common.BrokerConfig;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.store.DefaultMessageStore;
import org.apache.rocketmq.store.config.MessageStoreConfig;
import org.apache.rocketmq.store.ha.HAService;
import org.apache.rocketmq.store.stats.BrokerStatsManager;

/** RocketMQ's store on a directory, without its network side. */
final class Stores {
    static final int SMALL_SEGMENT = 65_536;

    static DefaultMessageStore open(String root, int segmentBytes, boolean hasRecordCrc) throws Exception {
        MessageStoreConfig config = new MessageStoreConfig();
        config.setStorePathRootDir(root);
        config.setStorePathCommitLog(root + "/commitlog");
        config.setMappedFileSizeCommitLog(segmentBytes);
        config.setEnableMultiDispatch(true);
        config.setEnableLmq(true);
        config.setEnabledAppendPropCRC(hasRecordCrc);
        config.setForceVerifyPropCRC(hasRecordCrc);
        config.setTimerWheelEnable(false);
        config.setCleanFileForciblyEnable(false);
        config.setFileReservedTime(1_000_000);
        BrokerConfig broker = new BrokerConfig();
        broker.setBrokerName("interop");
        DefaultMessageStore store =
            new DefaultMessageStore(
                config, new BrokerStatsManager("interop", false), null, broker, new ConcurrentHashMap<String, TopicConfig>());
        if (!store.load()) throw new IllegalStateException("RocketMQ cannot load " + root);
        withoutReplication(store);
        store.start();
        return store;
    }

    /** The replication service would listen on all addresses: one that does nothing takes its place. */
    private static void withoutReplication(DefaultMessageStore store) throws Exception {
        Field field = DefaultMessageStore.class.getDeclaredField("haService");
        field.setAccessible(true);
        field.set(
            store,
            Proxy.newProxyInstance(
                HAService.class.getClassLoader(),
                new Class<?>[] {HAService.class},
                (proxy, method, arguments) -> {
                    Class<?> type = method.getReturnType();
                    if (type == boolean.class) return false;
                    if (type == int.class) return 0;
                    if (type == long.class) return 0L;
                    return null;
                }));
    }

    /** Length of the segments that are there. */
    static int segmentBytes(String root) {
        File[] files = new File(root, "commitlog").listFiles((dir, name) -> name.matches("\\d{20}"));
        if (files == null || files.length == 0) throw new IllegalStateException("no segments in " + root);
        return (int) files[0].length();
    }

    /** Everything that was appended has its ConsumeQueue and Index entries. */
    static void awaitDispatch(DefaultMessageStore store) throws InterruptedException {
        long deadline = System.currentTimeMillis() + 60_000;
        while (store.dispatchBehindBytes() > 0) {
            if (System.currentTimeMillis() > deadline) throw new IllegalStateException("dispatch is not getting on");
            Thread.sleep(5);
        }
    }
}
