/** One capability; throws when it does not hold. */
interface Check {
    void run(Broker broker) throws Exception;
}
