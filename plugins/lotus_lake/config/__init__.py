"""Where the lake and the bucket are, and what to feed: settings, connections, stream configs."""
