from srnn.model.models import *
