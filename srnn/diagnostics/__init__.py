"""What a model makes of data: its residuals, noise, energy, step, initial states and forecasts."""

from srnn.diagnostics._diagnose import diagnose
from srnn.diagnostics._diagnosis import Diagnosis, Forecast
from srnn.diagnostics._residuals import FittedResiduals, Statistic

__all__ = ["Diagnosis", "FittedResiduals", "Forecast", "Statistic", "diagnose"]
