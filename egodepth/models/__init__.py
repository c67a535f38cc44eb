"""Released models: opened, imported, evaluated, measured."""
