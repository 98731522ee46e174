"""What the services share: the pure domain and the thin adapters around it. It imports none of them."""
