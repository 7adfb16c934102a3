"""How many cards a number of programmers needs: arithmetic from measured and published figures."""
