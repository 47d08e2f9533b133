"""The browser's side of onrecord: pages, sign-in and the API."""
