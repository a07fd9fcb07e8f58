"""Exercises of chapter 09."""

QUIZZES = {}
CHECKS = {}
