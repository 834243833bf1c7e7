"""Where the lake and the bucket are, and what to feed: settings and stream configs."""
