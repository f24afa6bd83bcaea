"""Chats as trees of messages."""
