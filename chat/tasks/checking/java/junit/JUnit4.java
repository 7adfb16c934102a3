package starcoderlsp;

import java.util.HashSet;
import java.util.Set;
import org.junit.runner.Description;
import org.junit.runner.JUnitCore;
import org.junit.runner.Request;
import org.junit.runner.manipulation.Filter;
import org.junit.runner.notification.Failure;
import org.junit.runner.notification.RunListener;

/** Runs tests with JUnit 4. */
public final class JUnit4 implements Worker.Framework {
    @Override
    public void run(Class<?> testClass, String mark, Set<Integer> numbers) {
        JUnitCore core = new JUnitCore();
        core.addListener(new Listener(mark));
        core.run(Request.aClass(testClass).filterWith(new Chosen(mark, numbers)));
    }

    private static int number(Description test, String mark) {
        return test.isTest() ? Worker.number(String.valueOf(test.getMethodName()), mark) : -1;
    }

    private static final class Chosen extends Filter {
        private final String mark;
        private final Set<Integer> numbers;

        Chosen(String mark, Set<Integer> numbers) {
            this.mark = mark;
            this.numbers = numbers;
        }

        @Override
        public boolean shouldRun(Description test) {
            return test.isTest()
                    ? numbers.contains(number(test, mark))
                    : test.getChildren().stream().anyMatch(this::shouldRun);
        }

        @Override
        public String describe() {
            return "tests of a run";
        }
    }

    private static final class Listener extends RunListener {
        private final String mark;
        private final Set<Description> failed = new HashSet<>();

        Listener(String mark) {
            this.mark = mark;
        }

        @Override
        public void testStarted(Description test) {
            report(test, "start");
        }

        @Override
        public void testFailure(Failure failure) {
            failed.add(failure.getDescription());
            if (!failure.getDescription().isTest()) {
                Worker.problem(failure.getException());
            }
        }

        @Override
        public void testAssumptionFailure(Failure failure) {
            failed.add(failure.getDescription());
        }

        @Override
        public void testFinished(Description test) {
            report(test, failed.contains(test) ? "failed" : "passed");
        }

        private void report(Description test, String event) {
            int number = number(test, mark);
            if (number >= 0) {
                Worker.report("\"" + event + "\", " + number);
            }
        }
    }
}
