"""The classic deployment, as the tutorials have it: Flask, Pillow, a Keras model and ``model.predict``."""

import sys

import numpy as np
from flask import Flask, jsonify, request
from keras.models import load_model
from PIL import Image

app = Flask(__name__)
model = load_model(sys.argv[1])


@app.post("/predict")
def predict():  # noqa: ANN201 - tutorials have no types
    """Answer with the probability of COVID-19."""
    image = Image.open(request.files["file"]).convert("RGB").resize((224, 224))
    batch = np.asarray(image, np.float32)[np.newaxis] / 255
    return jsonify(covid=float(model.predict(batch, verbose=0)[0, 0]))


if __name__ == "__main__":
    app.run(port=int(sys.argv[2]))
