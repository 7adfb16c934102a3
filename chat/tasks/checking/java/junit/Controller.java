package starcoderlsp;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.jar.JarEntry;
import java.util.jar.JarOutputStream;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.tools.Diagnostic;
import javax.tools.DiagnosticCollector;
import javax.tools.ForwardingJavaFileManager;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileManager;
import javax.tools.JavaFileObject;
import javax.tools.StandardJavaFileManager;
import javax.tools.StandardLocation;
import javax.tools.ToolProvider;

/**
 * Compiles tests once for each variant of a source file, and lets a worker process run them.
 *
 * <p>Usage: {@code java Controller.java JOB}, or the compiled class. The job is a file of keys and values, each of them
 * followed by a null character; see `java/runner.py`. Results are lines of JSON.
 */
public final class Controller {
    private static final int MAX_ROUNDS = 4;
    private static final int MAX_HANGING = 3;
    private static final double SHORTEST_LIMIT = 1.0;
    private static final double LIMIT_FACTOR = 4.0;

    private final Map<String, List<String>> job = new HashMap<>();
    private final JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    private final Path work = Path.of("/private/compiled");
    private final TreeSet<Integer> remaining = new TreeSet<>();
    private WorkerProcess worker;

    private Controller(Path path) throws IOException {
        String[] parts = Files.readString(path).split("\0", -1);
        for (int i = 0; i + 1 < parts.length; i += 2) {
            job.computeIfAbsent(parts[i], key -> new ArrayList<>()).add(parts[i + 1]);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Controller controller = new Controller(Path.of(arguments[0]));
        try {
            controller.run();
        } catch (IllegalArgumentException error) { // an option that this compiler refuses
            controller.report("[\"problem\", " + quoted(error.getMessage()) + "]");
        }
        Runtime.getRuntime().halt(0);
    }

    private void run() throws Exception {
        Path classes = work.resolve("classes");
        Path program = job.containsKey("compiled") ? Path.of(first("compiled")) : compileProgram();
        if (program == null) {
            report("[\"problem\", \"This version of JUnit is not known.\"]");
            return;
        }
        all("method").forEach(line -> remaining.add(Integer.valueOf(line.split(" ")[0])));
        if (!compileTests(classes, program)) {
            return;
        }
        worker = new WorkerProcess(job, program);
        double seconds = runFirst(Double.parseDouble(first("seconds")), classes);
        List<String> variants = all("variant");
        for (int i = 1; i < variants.size() && !remaining.isEmpty(); i++) {
            Path folder = work.resolve("variant" + i);
            List<Path> own = List.of(program, classes);
            if (compile(List.of(variants.get(i)), folder, own, all("option"), false) == null) {
                int hanging = worker.run(i, remaining, List.of(folder, classes), seconds);
                if (hanging >= 0) {
                    report("[" + i + ", \"failed\", " + hanging + "]");
                }
            }
        }
        worker.stop();
    }

    /** Compiles this program, and reports it for later runs: no test has run yet. */
    private Path compileProgram() throws IOException {
        Path folder = work.resolve("program");
        List<String> options = List.of("-proc:none");
        if (compile(all("program"), folder, List.of(), options, false) != null) {
            return null;
        }
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (Stream<Path> paths = Files.walk(folder);
                JarOutputStream jar = new JarOutputStream(bytes)) {
            for (Path path : (Iterable<Path>) paths.filter(Files::isRegularFile)::iterator) {
                jar.putNextEntry(new JarEntry(folder.relativize(path).toString()));
                jar.write(Files.readAllBytes(path));
            }
        }
        String text = Base64.getEncoder().encodeToString(bytes.toByteArray());
        report("[\"program\", \"" + text + "\"]");
        return folder;
    }

    /** Compiles the tests. Those with errors are removed from the file. */
    private boolean compileTests(Path classes, Path program) throws IOException {
        Path test = Path.of(first("test"));
        for (int round = 0; round < MAX_ROUNDS && !remaining.isEmpty(); round++) {
            List<String> files = List.of(first("variant"), test.toString());
            List<Diagnostic<? extends JavaFileObject>> errors =
                    compile(files, classes, List.of(program), all("option"), true);
            if (errors == null) {
                return true;
            }
            TreeSet<Integer> refused = new TreeSet<>();
            for (Diagnostic<? extends JavaFileObject> error : errors) {
                if (error.getSource() != null && Path.of(error.getSource().toUri()).equals(test)) {
                    methodsAt(error.getLineNumber()).forEach(refused::add);
                }
            }
            if (refused.isEmpty()) {
                report("[\"problem\", " + quoted(errors.get(0).toString()) + "]");
                return false;
            }
            for (int number : refused) {
                report("[\"refused\", " + number + "]");
                removeMethod(test, number);
            }
            remaining.removeAll(refused);
        }
        return false;
    }

    private List<Integer> methodsAt(long line) {
        return all("method").stream().map(text -> text.split(" "))
                .filter(each -> Long.parseLong(each[1]) <= line && line <= Long.parseLong(each[2]))
                .map(each -> Integer.valueOf(each[0])).collect(Collectors.toList());
    }

    private void removeMethod(Path test, int number) throws IOException {
        List<String> lines = new ArrayList<>(List.of(Files.readString(test).split("\n", -1)));
        for (String text : all("method")) {
            String[] each = text.split(" ");
            if (Integer.parseInt(each[0]) == number) {
                for (int i = Integer.parseInt(each[1]); i <= Integer.parseInt(each[2]); i++) {
                    lines.set(i - 1, "");
                }
            }
        }
        Files.writeString(test, String.join("\n", lines));
    }

    /** Runs the tests with the file as it is, and returns the limit for tests of the others. */
    private double runFirst(double seconds, Path classes) throws Exception {
        double limit = seconds;
        TreeSet<Integer> pending = new TreeSet<>(remaining);
        for (int i = 0; i <= MAX_HANGING && !pending.isEmpty(); i++) {
            int hanging = worker.run(0, pending, List.of(classes), seconds);
            if (hanging == WorkerProcess.ENDED) {
                limit = Math.min(seconds, SHORTEST_LIMIT + LIMIT_FACTOR * worker.slowest());
                break;
            }
            if (hanging < 0) {
                break;
            }
            report("[0, \"failed\", " + hanging + "]");
            pending.removeAll(worker.finished());
            pending.remove(hanging);
        }
        remaining.retainAll(worker.passed());
        return limit;
    }

    /** Compiles files, and returns the errors, or null if there are none. */
    private List<Diagnostic<? extends JavaFileObject>> compile(
            List<String> files, Path output, List<Path> own, List<String> options, boolean isFirst)
            throws IOException {
        DiagnosticCollector<JavaFileObject> collector = new DiagnosticCollector<>();
        Files.createDirectories(output);
        try (StandardJavaFileManager manager =
                compiler.getStandardFileManager(collector, null, StandardCharsets.UTF_8)) {
            List<Path> classPath = new ArrayList<>(own);
            all("jar").forEach(jar -> classPath.add(Path.of(jar)));
            manager.setLocationFromPaths(StandardLocation.CLASS_PATH, classPath);
            manager.setLocationFromPaths(StandardLocation.CLASS_OUTPUT, List.of(output));
            List<Path> roots = all("root").stream().map(Path::of).collect(Collectors.toList());
            manager.setLocationFromPaths(
                    StandardLocation.SOURCE_PATH, isFirst ? roots : List.of());
            boolean isRight = compiler.getTask(null, new WithoutModule(manager), collector, options,
                    null, manager.getJavaFileObjectsFromStrings(files)).call();
            return isRight ? null : collector.getDiagnostics().stream()
                    .filter(each -> each.getKind() == Diagnostic.Kind.ERROR)
                    .collect(Collectors.toList());
        }
    }

    private List<String> all(String key) {
        return job.getOrDefault(key, List.of());
    }

    private String first(String key) {
        return all(key).get(0);
    }

    private void report(String line) throws IOException {
        byte[] bytes = (line + "\n").getBytes(StandardCharsets.UTF_8);
        Path results = Path.of(first("results"));
        Files.write(results, bytes, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }

    private static String quoted(String text) {
        StringBuilder result = new StringBuilder("\"");
        for (char each : String.valueOf(text).toCharArray()) {
            boolean isPlain = each >= ' ' && each < 127 && each != '"' && each != '\\';
            result.append(isPlain ? String.valueOf(each) : String.format("\\u%04x", (int) each));
        }
        return result.append('"').toString();
    }
}

/** Hides `module-info.java`, because tests are not in the module. */
final class WithoutModule extends ForwardingJavaFileManager<JavaFileManager> {
    WithoutModule(JavaFileManager manager) {
        super(manager);
    }

    @Override
    public JavaFileObject getJavaFileForInput(
            Location location, String name, JavaFileObject.Kind kind) throws IOException {
        return name.equals("module-info") && location == StandardLocation.SOURCE_PATH
                ? null : super.getJavaFileForInput(location, name, kind);
    }
}

/** A process that runs tests. It is started again after a test that ended it or did not end. */
final class WorkerProcess {
    static final int ENDED = -1;
    private static final int NOTHING_STARTED = -2;

    private static final double SECONDS_TO_START = 15.0;

    private final Map<String, List<String>> job;
    private final Path program;
    private final Path results;
    private final TreeSet<Integer> passed = new TreeSet<>();
    private final TreeSet<Integer> finished = new TreeSet<>();
    private Process process;
    private long position;
    private long slowest;

    WorkerProcess(Map<String, List<String>> job, Path program) throws IOException {
        this.job = job;
        this.program = program;
        results = Path.of(job.get("results").get(0));
        start();
    }

    TreeSet<Integer> passed() {
        return passed;
    }

    TreeSet<Integer> finished() {
        return finished;
    }

    /** Returns the seconds that the slowest test needed that ended. */
    double slowest() {
        return slowest / 1e9;
    }

    /**
     * Runs tests, each for at most some seconds, and returns ENDED, or the number of the test that did not end in time or ended
     * the process.
     */
    int run(int variant, TreeSet<Integer> numbers, List<Path> folders, double seconds)
            throws Exception {
        if (process == null || !process.isAlive()) {
            start();
        }
        position = Files.exists(results) ? Files.size(results) : 0;
        send(variant, numbers, folders);
        long last = System.nanoTime();
        double limit = SECONDS_TO_START;
        int started = NOTHING_STARTED;
        while (true) {
            boolean isLast = !process.isAlive() || System.nanoTime() - last > limit * 1e9;
            for (String line : newLines()) {
                String[] parts = line.split("[\\[\\], \"]+"); // the first part is empty
                if (parts.length < 3 || !parts[1].equals(String.valueOf(variant))) {
                    continue;
                }
                long now = System.nanoTime();
                if (parts[2].equals("end")) { // JUnit gives up when the memory is full
                    return started == NOTHING_STARTED ? ENDED : started;
                } else if (parts.length < 4) {
                    continue; // a test has written it
                } else if (parts[2].equals("start")) {
                    started = Integer.parseInt(parts[3]);
                    last = now;
                    limit = seconds;
                } else if (parts[2].equals("passed") || parts[2].equals("failed")) {
                    finished.add(Integer.parseInt(parts[3]));
                    if (variant == 0 && parts[2].equals("passed")) {
                        passed.add(Integer.parseInt(parts[3]));
                    }
                    started = NOTHING_STARTED;
                    slowest = Math.max(slowest, now - last);
                    last = now;
                }
            }
            if (isLast) {
                stop();
                return started;
            }
            Thread.sleep(2);
        }
    }

    void stop() throws InterruptedException {
        process.destroyForcibly().waitFor();
    }

    private void start() throws IOException {
        List<String> classPath = new ArrayList<>(List.of(program.toString()));
        classPath.addAll(job.getOrDefault("jar", List.of()));
        List<String> command = new ArrayList<>(job.get("java"));
        command.addAll(List.of("-cp", String.join(File.pathSeparator, classPath)));
        command.addAll(List.of("starcoderlsp.Worker", results.toString()));
        for (String key : List.of("framework", "class", "subject", "mark")) {
            command.add(job.get(key).get(0));
        }
        process = new ProcessBuilder(command).directory(new File(job.get("folder").get(0)))
                .redirectOutput(ProcessBuilder.Redirect.INHERIT)
                .redirectError(ProcessBuilder.Redirect.INHERIT).start();
    }

    private void send(int variant, TreeSet<Integer> numbers, List<Path> folders)
            throws IOException {
        List<String> words = new ArrayList<>(List.of(String.valueOf(variant)));
        words.add(numbers.stream().map(String::valueOf).collect(Collectors.joining(",")));
        folders.forEach(folder -> words.add(folder.toUri().toString()));
        for (String folder : job.getOrDefault("resources", List.of())) {
            words.add(Path.of(folder).toUri().toString());
        }
        try {
            byte[] line = (String.join(" ", words) + "\n").getBytes(StandardCharsets.UTF_8);
            process.getOutputStream().write(line);
            process.getOutputStream().flush();
        } catch (IOException error) {
            return; // it has ended, which the caller sees
        }
    }

    private List<String> newLines() throws IOException {
        if (!Files.exists(results) || Files.size(results) <= position) {
            return List.of();
        }
        byte[] bytes;
        try (var channel = Files.newByteChannel(results)) {
            var buffer = java.nio.ByteBuffer.allocate((int) (channel.size() - position));
            channel.position(position).read(buffer);
            bytes = buffer.array();
        }
        String text = new String(bytes, StandardCharsets.ISO_8859_1);
        int end = text.lastIndexOf('\n') + 1;
        position += end;
        return List.of(text.substring(0, end).split("\n"));
    }
}
