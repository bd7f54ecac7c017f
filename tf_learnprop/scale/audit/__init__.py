"""Looks for what the maps of many images have in common, and for those that do not fit."""

from tf_learnprop.scale.audit.findings import Finding
from tf_learnprop.scale.audit.summary import Audit, ClassSummary, ClusterSummary, Example
from tf_learnprop.scale.audit.two_passes import audit

__all__ = ["Audit", "ClassSummary", "ClusterSummary", "Example", "Finding", "audit"]
