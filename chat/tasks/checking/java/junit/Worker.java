package starcoderlsp;

import java.io.BufferedReader;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.util.Set;
import java.util.TreeSet;

/**
 * Runs tests in a class loader of their own for each line of stdin: the number of a variant, the
 * numbers of tests, and the folders of classes.
 */
public final class Worker {
    private static final int MAX_OBSERVED = 1 << 18;

    private static OutputStream results;
    private static long observed;
    private static String subject;
    private static volatile int variant;

    private Worker() {}

    /** Runs tests of a class whose names are a mark and a number. */
    public interface Framework {
        void run(Class<?> testClass, String mark, Set<Integer> numbers) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        results = new FileOutputStream(arguments[0], true);
        Class<?> type = Class.forName("starcoderlsp." + arguments[1]);
        Framework framework = (Framework) type.getConstructor().newInstance();
        subject = arguments[3];
        BufferedReader commands =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        System.setIn(InputStream.nullInputStream());
        System.setOut(new PrintStream(OutputStream.nullOutputStream()));
        System.setErr(new PrintStream(OutputStream.nullOutputStream()));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] words = line.split(" ");
            variant = Integer.parseInt(words[0]);
            Set<Integer> numbers = new TreeSet<>();
            for (String number : words[1].split(",")) {
                numbers.add(Integer.valueOf(number));
            }
            URL[] folders = new URL[words.length - 2];
            for (int i = 0; i < folders.length; i++) {
                folders[i] = new URL(words[i + 2]);
            }
            run(framework, new URLClassLoader(folders), arguments[2], arguments[4], numbers);
            report("\"end\"");
        }
        Runtime.getRuntime().halt(0);
    }

    private static void run(
            Framework framework,
            ClassLoader loader,
            String testClass,
            String mark,
            Set<Integer> numbers) {
        Thread.currentThread().setContextClassLoader(loader);
        try {
            framework.run(Class.forName(testClass, false, loader), mark, numbers);
        } catch (Throwable error) {
            problem(error);
        }
    }

    /** Writes a line of JSON about the variant that runs. */
    public static synchronized void report(String fields) {
        try {
            results.write(("[" + variant + ", " + fields + "]\n").getBytes(StandardCharsets.UTF_8));
        } catch (IOException error) {
            return; // the file is too large
        }
    }

    /** Reports what an assertion saw. An endless loop of assertions fills no memory. */
    static synchronized void observe(String fields) {
        observed += fields.length();
        if (observed < MAX_OBSERVED) {
            report(fields);
        }
    }

    /** Reports why tests could not be run. */
    public static void problem(Throwable error) {
        report("\"problem\", " + Seen.quoted(String.valueOf(error)));
    }

    /** Returns the number of a test, -1 for others. */
    public static int number(String name, String mark) {
        String rest = name.startsWith(mark + "_") ? name.substring(mark.length() + 1) : "";
        return rest.matches("\\d{1,6}") ? Integer.parseInt(rest) : -1;
    }

    /** Whether an error comes out of the subject's class. */
    static boolean isInside(Throwable error) {
        for (StackTraceElement each : error.getStackTrace()) {
            String name = each.getClassName();
            if (name.equals(subject) || name.startsWith(subject + "$")) {
                return true;
            }
        }
        return false;
    }
}
