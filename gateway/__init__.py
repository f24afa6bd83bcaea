"""The only HTTP and WebSocket speaker of ovchat. It touches no model file and holds no state that another needs."""
