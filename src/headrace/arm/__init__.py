"""The control plane: Azure Resource Manager resources and their store."""
