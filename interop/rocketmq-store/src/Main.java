/**
 * `read DIR [crc]`, `write DIR [crc]` or `find DIR TOPIC KEY...`: one JSON object per line on standard output. Exit 0 when the
 * work was done, whatever it found. `crc`: every record carries the whole-record checksum; without it RocketMQ takes a record
 * for the end of the log when told to verify.
 */
public final class Main {
    public static void main(String[] args) {
        int status = 1;
        try {
            status = run(args);
        } catch (Throwable error) {
            error.printStackTrace();
        }
        System.out.flush();
        // The library leaves threads behind.
        System.exit(status);
    }

    private static int run(String[] args) throws Exception {
        switch (args.length > 0 ? args[0] : "") {
            case "read":
                StoreReader.run(args[1], args.length > 2 && args[2].equals("crc"));
                return 0;
            case "write":
                StoreWriter.run(args[1], args.length > 2 && args[2].equals("crc"));
                return 0;
            case "find":
                StoreReader.find(args[1], java.util.Arrays.asList(args).subList(2, args.length));
                return 0;
            default:
                System.err.println("usage: read DIR [crc] | write DIR [crc] | find DIR TOPIC KEY...");
                return 2;
        }
    }
}
