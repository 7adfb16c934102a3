package starcoderlsp;

import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.junit.platform.engine.DiscoverySelector;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.discovery.DiscoverySelectors;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.LauncherDiscoveryRequest;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/** Runs tests on the JUnit Platform. */
public final class Platform implements Worker.Framework {
    @Override
    public void run(Class<?> testClass, String mark, Set<Integer> numbers) {
        List<DiscoverySelector> selectors = new ArrayList<>();
        for (Method method : testClass.getDeclaredMethods()) {
            if (numbers.contains(Worker.number(method.getName(), mark))) {
                selectors.add(DiscoverySelectors.selectMethod(testClass, method));
            }
        }
        LauncherDiscoveryRequest request =
                LauncherDiscoveryRequestBuilder.request().selectors(selectors).build();
        LauncherFactory.create().execute(request, new Listener(mark));
    }

    private static final class Listener implements TestExecutionListener {
        private final String mark;

        Listener(String mark) {
            this.mark = mark;
        }

        @Override
        public void executionStarted(TestIdentifier test) {
            report(test, "start");
        }

        @Override
        public void executionFinished(TestIdentifier test, TestExecutionResult result) {
            boolean isPassed = result.getStatus() == TestExecutionResult.Status.SUCCESSFUL;
            if (!isPassed && !test.isTest()) {
                result.getThrowable().ifPresent(Worker::problem);
            }
            report(test, isPassed ? "passed" : "failed");
        }

        private void report(TestIdentifier test, String event) {
            if (test.isTest() && test.getSource().orElse(null) instanceof MethodSource) {
                MethodSource source = (MethodSource) test.getSource().get();
                int number = Worker.number(source.getMethodName(), mark);
                if (number >= 0) {
                    Worker.report("\"" + event + "\", " + number);
                }
            }
        }
    }
}
