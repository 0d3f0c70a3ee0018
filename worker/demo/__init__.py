"""The main job on real images: scikit-learn's digits, through the real API and a real worker.

`python -m worker.demo` (or `expunge demo`) starts the embedded stack as a child process and talks
to it over HTTP alone. It trains the network that plays the customer's, registers it, has known
controls audited, asks for three erasures and fails when the outcome isn't what Expunge promises.
"""
