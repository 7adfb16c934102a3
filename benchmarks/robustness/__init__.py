"""What the server and the engine survive: hours of use, kills, and cancelled requests."""
