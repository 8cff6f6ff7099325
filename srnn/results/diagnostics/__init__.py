"""What a model makes of data: its residuals, noise, energy, step, initial states and forecasts."""

from srnn.results.diagnostics._diagnose import diagnose
from srnn.results.diagnostics._diagnosis import Diagnosis, Forecast
from srnn.results.diagnostics._residuals import FittedResiduals, Statistic

__all__ = ["Diagnosis", "FittedResiduals", "Forecast", "Statistic", "diagnose"]
