"""Who calls us: listeners, the streams of applications, and the rules by which a request finds its connection."""
