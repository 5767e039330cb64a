"""The HTTP wire: OpenAI's shapes, documents and versions, the chat page. A raw ASGI application, for speed."""
