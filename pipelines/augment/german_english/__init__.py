"""German and English pairs: other names and numbers in them, longer texts made of them, and sentences of a small grammar."""
