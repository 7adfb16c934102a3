"""Quality of the task "write tests" with a model, on 60 functions in six ecosystems."""
