import sharp from 'sharp';
import { invalidArgument } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** How a picture becomes a tensor. */
export interface ImageSpec {
  width: number;
  height: number;
  /** contain: all of it, with black borders; cover: cut to fit; fill: distorted. */
  fit: 'contain' | 'cover' | 'fill';
  /** 3: RGB, 1: grey. */
  channels: 1 | 3;
  layout: 'NCHW' | 'NHWC';
  datatype: 'FP32' | 'UINT8';
  /** FP32: (value / 255 - mean) / std, one for each channel. */
  mean: readonly number[];
  std: readonly number[];
  /** More are refused before anything is decoded. */
  maxPixels: number;
}

export const IMAGE_DEFAULTS: Omit<ImageSpec, 'width' | 'height'> = {
  fit: 'fill',
  channels: 3,
  layout: 'NCHW',
  datatype: 'FP32',
  mean: [0, 0, 0],
  std: [1, 1, 1],
  maxPixels: 50_000_000,
};

/** Encoded pictures (JPEG, PNG, WebP …) as one batch. Throws invalid_argument naming the picture that cannot be decoded. */
export async function imagesToTensor(name: string, images: readonly Uint8Array[], spec: ImageSpec): Promise<Tensor> {
  checkSpec(spec);
  const { width, height, channels, layout, datatype } = spec;
  const size = width * height * channels;
  const bytes = new Uint8Array(images.length * size * (datatype === 'FP32' ? 4 : 1));
  for (const [i, image] of images.entries()) {
    const pixels = await decodeImage(image, spec, i);
    if (datatype === 'UINT8') arrange(pixels, bytes.subarray(i * size, (i + 1) * size), spec, (value) => value);
    else {
      const floats = new Float32Array(bytes.buffer, i * size * 4, size);
      arrange(pixels, floats, spec, (value, channel) => (value / 255 - spec.mean[channel]) / spec.std[channel]);
    }
  }
  const shape = layout === 'NCHW' ? [channels, height, width] : [height, width, channels];
  return { name, datatype, shape: [images.length, ...shape], data: bytes };
}

function checkSpec({ width, height, channels, mean, std, maxPixels }: ImageSpec): void {
  const whole = (value: number): boolean => Number.isSafeInteger(value) && value > 0;
  if (!whole(width) || !whole(height) || width * height > maxPixels)
    throw invalidArgument(
      `an image of ${width} × ${height} is not allowed; give whole numbers of at most ${maxPixels} pixels together`,
    );
  if (mean.length < channels || std.length < channels || std.some((value) => !(value > 0)))
    throw invalidArgument(`mean and std need a number for each of ${channels} channels, std above 0`);
}

/** Row by row, channels together. */
async function decodeImage(
  image: Uint8Array,
  { width, height, fit, channels, maxPixels }: ImageSpec,
  index: number,
): Promise<Uint8Array> {
  try {
    const picture = sharp(image, { limitInputPixels: maxPixels, failOn: 'error' })
      .rotate()
      .resize(width, height, { fit, background: '#000000' })
      .flatten({ background: '#000000' });
    const plain = channels === 1 ? picture.grayscale() : picture.toColourspace('srgb');
    const { data, info } = await plain.raw().toBuffer({ resolveWithObject: true });
    if (info.channels !== channels) throw new Error(`it has ${info.channels} channels, not ${channels}`);
    return data;
  } catch (error) {
    throw invalidArgument(`image ${index}: not readable: ${(error as Error).message.split('\n')[0]}`);
  }
}

function arrange(
  pixels: Uint8Array,
  into: Uint8Array | Float32Array,
  { width, height, channels, layout }: ImageSpec,
  convert: (value: number, channel: number) => number,
): void {
  const area = width * height;
  for (let at = 0; at < area; at++)
    for (let channel = 0; channel < channels; channel++) {
      const place = layout === 'NCHW' ? channel * area + at : at * channels + channel;
      into[place] = convert(pixels[at * channels + channel], channel);
    }
}

/** One picture of a batch as PNG: what a model was shown, for people. Undoes `imagesToTensor` up to rounding. */
export async function tensorToPng(tensor: Tensor, index: number, spec: ImageSpec): Promise<Buffer> {
  const { width, height, channels, layout, datatype, mean, std } = spec;
  const size = width * height * channels;
  if (index < 0 || index >= tensor.shape[0])
    throw invalidArgument(`there is no image ${index}; the tensor has ${tensor.shape[0]}`);
  const pixels = new Uint8Array(size);
  const view = new DataView(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
  for (let at = 0; at < width * height; at++)
    for (let channel = 0; channel < channels; channel++) {
      const place = index * size + (layout === 'NCHW' ? channel * width * height + at : at * channels + channel);
      const value =
        datatype === 'UINT8'
          ? tensor.data[place]
          : (view.getFloat32(place * 4, true) * std[channel] + mean[channel]) * 255;
      pixels[at * channels + channel] = Math.min(255, Math.max(0, Math.round(value)));
    }
  return sharp(pixels, { raw: { width, height, channels } }).png().toBuffer();
}
