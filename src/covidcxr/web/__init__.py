"""The web application: pages, APIs and the server. Needs the extra ``web``."""
