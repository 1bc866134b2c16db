"""How many replicas a load needs: costs measured on the real engine and service, and a simulation of many of them."""
