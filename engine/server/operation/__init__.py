"""What an administrator needs: records of requests, metrics, logs, TLS, reload and end."""
